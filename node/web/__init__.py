"""The review page and its API: film, draft, questions, feedback. Off until a site asks for it."""
