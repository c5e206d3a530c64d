"""What a worker does, a function for each of `dlbench.worker.measurements`: from the job's plain data to a result."""
