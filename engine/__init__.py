"""What a model bundle can do, with no network and no trainer in sight."""
