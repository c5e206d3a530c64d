"""What a right backend gives, and where it is asked: points, expectations, tolerances."""
