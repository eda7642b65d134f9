"""What trains and what tests: real photos, generated pairs, drawn defects, and that no photo is on both sides."""
