"""Commands that make pairs, or see to it that they can be made."""
