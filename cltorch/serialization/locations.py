"""``map_location``: from the device name in a checkpoint to the device its tensors go to."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.data import resolve
from ..errors import NoOpenCLError
from ..runtime.spec import device

MapLocation = Any  # Callable[[SavedStorage, str], SavedStorage | None] | device | str | dict[str, str] | None


class SavedStorage:
    """What a ``map_location`` function gets: a storage on "cpu". It returns it, ``storage.cuda(i)``, ``storage.to(device)`` or None."""

    def __init__(self, place: device | None = None) -> None:
        self.device = place or device("cpu")

    def cpu(self) -> SavedStorage:
        return SavedStorage()

    def cuda(self, index: Any = None) -> SavedStorage:
        return SavedStorage(device("cuda") if index is None else device(index))

    def to(self, place: Any) -> SavedStorage:
        return SavedStorage(device(place))


def placement(map_location: MapLocation) -> Callable[[str], device]:
    """A function from the name in the file to a device that exists here. TypeError for a map_location of another kind."""
    if map_location is None:
        return _restore
    if isinstance(map_location, dict):
        names = {str(key): value for key, value in map_location.items()}
        return lambda name: device(names[name]) if name in names else _restore(name)
    if isinstance(map_location, (str, device)):
        target = device(map_location)
        return lambda name: target
    if callable(map_location):
        return lambda name: _chosen(map_location, name)
    raise TypeError(f"load: map_location must be a device, its name, a dict or a function, not {type(map_location).__name__}")


def _chosen(function: Callable[[SavedStorage, str], Any], name: str) -> device:
    result = function(SavedStorage(), name)
    if result is None:
        return _restore(name)
    if not isinstance(result, SavedStorage):
        raise TypeError(f"load: the map_location function must return the storage it was given, storage.cuda(), storage.to(device) or None, "
                        f"not {type(result).__name__}")
    return result.device


def _restore(name: str) -> device:
    """The device of that name. RuntimeError, with the fix, where this machine has none such."""
    try:
        place = device(name)
        resolve(place)
    except NoOpenCLError as error:
        raise RuntimeError(f"Attempting to deserialize object on device {name!r}, but no OpenCL device is available here. "
                           "Use cltorch.load(f, map_location='cpu').") from error
    except RuntimeError as error:
        raise RuntimeError(f"Attempting to deserialize object on device {name!r}, which this machine does not have ({error}). "
                           "Use cltorch.load(f, map_location='cpu'), or the name of a device that it has.") from error
    return place
