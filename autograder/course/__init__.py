"""What a course says of itself: assignments, their rubrics, where their parts lie, and the secret that hidden inputs are drawn from."""
