"""Charts of what a report says: each a pure function from analysed rows to a picture and the table of its data."""
