"""ShapeNet's names of the classes in NMR, and the choice of classes."""

from collections.abc import Iterable, Mapping, Sequence

from jaxgrow.errors import UserError


SYNSETS = {
    "02691156": "airplane",
    "02828884": "bench",
    "02933112": "cabinet",
    "02958343": "car",
    "03001627": "chair",
    "03211117": "display",
    "03636649": "lamp",
    "03691459": "loudspeaker",
    "04090263": "rifle",
    "04256520": "sofa",
    "04379243": "table",
    "04401088": "telephone",
    "04530566": "vessel",
}


def choose_classes(
    ids: Iterable[str], wanted: Sequence[str], names: Mapping[str, str] = SYNSETS
) -> dict[str, str]:
    """Return the name of each wanted class by its id, sorted by name.

    `wanted` has names or ids; all classes if empty. A class that has no name is called
    by its id.

    Raises:
        UserError: A wanted class is not in the data.
    """
    found = {class_id: names.get(class_id, class_id) for class_id in ids}
    for want in wanted:
        if want not in found and want not in found.values():
            raise UserError(
                f"class {want} is not in the data: choose among "
                f"{', '.join(sorted(found.values()))}"
            )
    chosen = {
        i: name for i, name in found.items() if not wanted or {i, name} & {*wanted}
    }
    return dict(sorted(chosen.items(), key=lambda item: item[1]))
