"""ShapeNet's names of the classes in NMR."""

from collections.abc import Iterable, Sequence

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


def choose_classes(ids: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """Name of each wanted class by its id, sorted by name.

    A class that is no synset of NMR is called by its id.

    Args:
        ids: Those in the data.
        wanted: Names or ids; all of them if empty.

    Raises:
        UserError: A wanted class is not in the data.
    """
    names = {class_id: SYNSETS.get(class_id, class_id) for class_id in ids}
    for want in wanted:
        if want not in names and want not in names.values():
            raise UserError(
                f"class {want} is not in the data: choose among "
                f"{', '.join(sorted(names.values()))}"
            )
    chosen = {
        i: name for i, name in names.items() if not wanted or {i, name} & {*wanted}
    }
    return dict(sorted(chosen.items(), key=lambda item: item[1]))
