"""Where a defect may go on a part, and the shape it gets there."""
