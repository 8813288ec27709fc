"""What preflight finds and says: findings, their wording, and what each table will be."""
