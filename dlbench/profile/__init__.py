"""Where the time of a step goes: networks that tell, what they tell of each layer, and why rows differ."""
