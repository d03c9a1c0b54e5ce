"""What is wrong here, and what to do about it: `checkup` has the table, `look/` looks, `judge/` judges."""
