"""The page that shows what an agent sees, dreams and decides."""
