"""What many calls share: uploads, encodings, pages, clients, deadlines."""
