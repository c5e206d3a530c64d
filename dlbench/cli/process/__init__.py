"""What is around the program: signals that end it, streams that go away."""
