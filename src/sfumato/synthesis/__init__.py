"""Private synthetic tables: rows of people who do not exist, fitted to noisy answers about people who do."""
