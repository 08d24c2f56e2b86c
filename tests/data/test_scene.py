from __future__ import annotations

import numpy as np

from lib.data.scene import Scene, SceneObject


def _square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 40), np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def test_two_parts_of_one_name_are_two_objects() -> None:
    scene = Scene.blank(40, 40)
    scene.paint(_square(2, 2, 8), 1.0, "vessel")
    scene.paint(_square(20, 20, 8), 1.0, "vessel")

    objects = scene.objects(min_area=10, whole_organs=True)

    assert [o.name for o in objects] == ["vessel", "vessel"]
    assert [int(o.mask.sum()) for o in objects] == [64, 64]


def test_an_organ_includes_its_lesion_only_as_a_whole_organ() -> None:
    scene = Scene.blank(40, 40)
    organ, lesion = _square(5, 5, 20), _square(10, 10, 5)
    scene.paint(organ, 1.0, "liver")
    scene.paint(lesion, 0.5, "lesion", "liver")

    whole = {o.name: o.mask for o in scene.objects(10, whole_organs=True)}
    bare = {o.name: o.mask for o in scene.objects(10, whole_organs=False)}

    assert np.array_equal(whole["liver"], organ)
    assert np.array_equal(bare["liver"], organ & ~lesion)
    assert np.array_equal(whole["lesion"], lesion)


def test_what_is_painted_later_covers_what_lies_behind() -> None:
    scene = Scene.blank(40, 40)
    scene.paint(_square(0, 0, 20), 1.0, "behind")
    scene.paint(_square(0, 0, 10), np.full((40, 40), 7.0, np.float32))

    (behind,) = scene.objects(10, whole_organs=True)

    assert int(behind.mask.sum()) == 300
    assert scene.values[0, 0] == 7.0


def test_small_parts_are_left_out() -> None:
    scene = Scene.blank(40, 40)
    scene.paint(_square(0, 0, 3), 1.0, "dot")
    scene.overlays.append(SceneObject("shadow", _square(5, 5, 2)))

    assert scene.objects(min_area=10, whole_organs=True) == []
