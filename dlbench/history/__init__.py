"""Records over time: kept in one file, shown case by case, with the points at which a level changed.

`entries` makes of a record what is kept of it, `store` keeps it, `changes` finds the change points, `view` puts
together what is shown. Only like is put in one series: whatever keeps `dlbench compare` from comparing two
records parts them here too.
"""
