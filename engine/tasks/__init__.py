"""What a model can be asked to do, one row a task: how it is put and how its reply is read."""

from engine.tasks.api import Tasks
from engine.tasks.registry import TASKS
from engine.tasks.values import UNPARSABLE

__all__ = ["TASKS", "UNPARSABLE", "Tasks"]
