"""What does a launcher's config say when it asks for shards?  The variables that `accelerate launch` sets."""

SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ZERO_2 = {**SHARDS, "FSDP_RESHARD_AFTER_FORWARD": "false"}
