"""The rows of the table, what they draw from, and their training and testing in workers."""
