"""What all charts are drawn with: colours, axes, rows beneath each other, and how a drawing becomes a file."""
