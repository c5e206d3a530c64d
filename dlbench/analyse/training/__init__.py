"""What is to be known of trainings: how one ended, and how long several take to a target."""
