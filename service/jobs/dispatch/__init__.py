"""The dispatcher: sends hints, finishes jobs, rebuilds the index, deletes expired jobs."""
