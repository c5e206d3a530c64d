"""What a table is in a report for people, and how it is printed as text and as Markdown."""
