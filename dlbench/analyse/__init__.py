"""From a record's facts to figures: statistics, outcomes, speed-ups, the table that reports print."""
