"""The commands and their flags, a file per group; what they do stands beside this folder, imported when asked for."""
