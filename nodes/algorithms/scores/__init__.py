"""How good a generated defect is, in numbers that need no model: measures, and the choice by them."""
