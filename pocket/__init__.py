"""How the pocket model is made: corpus, training, conversion and scoring."""
