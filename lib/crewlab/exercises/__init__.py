"""What the learner answers: quizzes, exercises with checks and hints, and how far they are."""
