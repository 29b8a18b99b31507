"""What is learned: CosPlace, and ProGEO with its prompts."""
