"""What `dlbench new-backend` writes: two backends that a user goes on with. Each is a file by itself."""
