"""Networks, losses, loops, data and scores of the papers. Imports neither service nor handlers."""
