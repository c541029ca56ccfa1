"""One submission is judged: checks ask a sealed worker, gates measure networks, and a result comes out."""
