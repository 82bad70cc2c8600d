import engine.run.starting  # noqa: F401, before anything that takes long
