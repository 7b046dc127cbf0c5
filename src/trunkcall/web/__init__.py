"""The page that people chat, compare and operate with, and the JSON that is its own."""
