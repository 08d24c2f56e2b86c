"""What a segment's name means, in the codes of SNOMED CT, and the colour it is shown in.

Only codes of which the name leaves no doubt. "Ventricle" may be a chamber of the heart or a space
of the brain, so it alone gets no code; "lateral ventricle" and "cardiac ventricle" do.
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from dataclasses import dataclass

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3, 8.8).

    Attributes:
        value: CodeValue.
        scheme: CodingSchemeDesignator, "SCT" for SNOMED CT.
        meaning: CodeMeaning, in English.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Anatomy:
    """What a segment shows.

    Attributes:
        category: of CID 7150, Segmentation Property Category.
        kind: the property itself, as exact as the name allows.
        colour: to show it in.
        side: left or right, where the name says so.
    """

    category: Code
    kind: Code
    colour: Colour
    side: Code | None = None


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


STRUCTURE = _sct("123037004", "Anatomical Structure")
ABNORMAL = _sct("49755003", "Morphologically Abnormal Structure")
TISSUE = _sct("85756007", "Tissue")
SUBSTANCE = _sct("91720002", "Body Substance")
OBJECT = _sct("260787004", "Physical object")
SIDES = {"left": _sct("7771000", "Left"), "right": _sct("24028007", "Right")}

_TABLE: dict[Code, tuple[tuple[str, str, Colour, tuple[str, ...]], ...]] = {
    STRUCTURE: (
        ("10200004", "Liver", (184, 92, 70), ()),
        ("78961009", "Spleen", (158, 106, 134), ()),
        ("64033007", "Kidney", (198, 104, 72), ()),
        ("15776009", "Pancreas", (238, 182, 118), ()),
        ("69695003", "Stomach", (214, 130, 112), ()),
        ("28231008", "Gallbladder", (126, 164, 76), ("gall bladder",)),
        ("89837001", "Bladder", (226, 150, 102), ("urinary bladder",)),
        ("41216001", "Prostate", (226, 160, 140), ()),
        ("35039007", "Uterus", (222, 140, 156), ()),
        ("15497006", "Ovary", (232, 170, 176), ("ovaries",)),
        ("40689003", "Testis", (222, 186, 150), ("testes", "testicle")),
        ("87953007", "Ureter", (220, 190, 100), ()),
        ("13648007", "Urethra", (210, 170, 90), ()),
        ("23451007", "Adrenal gland", (240, 176, 76), ("adrenal", "suprarenal gland")),
        ("69748006", "Thyroid", (96, 156, 184), ("thyroid gland",)),
        ("76752008", "Breast", (232, 184, 160), ()),
        ("32849002", "Esophagus", (208, 160, 112), ("oesophagus",)),
        ("38848004", "Duodenum", (252, 198, 120), ()),
        ("30315005", "Small intestine", (210, 150, 120), ("small bowel",)),
        ("14742008", "Large intestine", (250, 200, 140), ("large bowel",)),
        ("71854001", "Colon", (232, 180, 132), ()),
        ("34402009", "Rectum", (196, 120, 100), ()),
        ("39607008", "Lung", (196, 164, 140), ()),
        ("44567001", "Trachea", (170, 216, 240), ("windpipe",)),
        ("955009", "Bronchus", (160, 200, 226), ("bronchi",)),
        ("89187006", "Airway structure", (176, 222, 236), ("airway",)),
        ("80891009", "Heart", (208, 78, 62), ()),
        ("21814001", "Ventricle", (190, 60, 70), ("cardiac ventricle", "heart ventricle")),
        ("15825003", "Aorta", (226, 96, 78), ()),
        ("64131007", "Inferior Vena Cava", (20, 140, 200), ()),
        ("48345005", "Superior Vena Cava", (40, 120, 190), ()),
        ("32764006", "Portal Vein", (60, 110, 210), ()),
        ("51114001", "Artery", (216, 86, 80), ("arteries",)),
        ("29092000", "Vein", (10, 130, 210), ()),
        ("59820001", "Blood vessel", (206, 72, 96), ("vessel",)),
        ("12738006", "Brain", (240, 232, 200), ()),
        ("113305005", "Cerebellum", (192, 180, 130), ()),
        ("119238007", "Brain stem", (120, 170, 120), ("brainstem",)),
        ("5366008", "Hippocampus", (216, 150, 60), ("hippocampi",)),
        ("42695009", "Thalamus", (170, 120, 140), ("thalami",)),
        ("35764002", "Brain ventricle", (90, 110, 214), ("cerebral ventricle",)),
        ("66720007", "Lateral ventricle", (100, 120, 224), ()),
        ("389080008", "White Matter", (246, 246, 216), ()),
        ("389081007", "Gray Matter", (200, 198, 232), ("grey matter",)),
        ("2748008", "Spinal cord", (244, 214, 60), ()),
        ("81745001", "Eye", (150, 200, 180), ("eyeball",)),
        ("81016008", "Optic nerve head", (250, 220, 120), ("optic disc", "optic disk")),
        ("54066008", "Pharynx", (186, 150, 160), ()),
        ("4596009", "Larynx", (150, 180, 190), ()),
        ("21974007", "Tongue", (226, 130, 130), ()),
        ("38199008", "Tooth", (252, 248, 220), ("teeth",)),
        ("45289007", "Parotid gland", (236, 190, 110), ("parotid",)),
        ("59441001", "Lymph node", (70, 170, 104), ()),
        ("272673000", "Bone", (240, 214, 146), ()),
        ("51282000", "Vertebra", (250, 206, 130), ("vertebrae",)),
        ("113197003", "Rib", (236, 222, 160), ()),
        ("71341001", "Femur", (228, 200, 140), ("femora",)),
        ("12611008", "Tibia", (222, 194, 130), ()),
        ("87342007", "Fibula", (216, 188, 124), ()),
        ("85050009", "Humerus", (230, 206, 150), ("humeri",)),
        ("54735007", "Sacrum", (224, 190, 120), ()),
        ("89546000", "Skull", (244, 226, 178), ()),
        ("91609006", "Mandible", (238, 214, 160), ()),
        ("56873002", "Sternum", (234, 206, 140), ()),
        ("51299004", "Clavicle", (226, 210, 156), ()),
        ("79601000", "Scapula", (220, 204, 150), ()),
        ("64234005", "Patella", (214, 196, 140), ()),
        ("113343008", "Organ", (220, 130, 100), ()),
        ("84640000", "Nucleus", (110, 90, 200), ("nuclei", "cell nucleus", "cell nuclei")),
    ),
    TISSUE: (
        ("71616004", "Muscle", (192, 104, 88), ()),
        ("309312004", "Cartilage", (110, 184, 210), ()),
        ("39937001", "Skin", (178, 122, 102), ()),
        ("256674009", "Fat", (230, 220, 70), ("adipose tissue", "fatty tissue")),
    ),
    ABNORMAL: (
        ("52988006", "Lesion", (226, 216, 60), ()),
        ("108369006", "Neoplasm", (144, 238, 144), ("tumour", "tumor")),
        ("4147007", "Mass", (140, 220, 130), ()),
        ("27925004", "Nodule", (160, 230, 90), ()),
        ("367643001", "Cyst", (120, 210, 200), ()),
        ("79654002", "Edema", (140, 224, 228), ("oedema",)),
        ("6574001", "Necrosis", (216, 190, 216), ()),
        ("50960005", "Hemorrhage", (188, 66, 40), ("haemorrhage", "bleeding")),
        ("44132006", "Abscess", (200, 190, 80), ()),
    ),
    SUBSTANCE: (
        ("87612001", "Blood", (200, 60, 60), ()),
        ("65216001", "Cerebrospinal Fluid", (86, 188, 255), ("csf",)),
    ),
    OBJECT: (
        ("40388003", "Implant", (160, 170, 190), ()),
        ("65818007", "Stent", (150, 150, 210), ()),
        ("19923001", "Catheter", (190, 150, 220), ()),
    ),
}
"""Category -> code, meaning, colour, further names. Meanings are names too."""


def _by_name() -> dict[str, Anatomy]:
    found: dict[str, Anatomy] = {}
    for category, rows in _TABLE.items():
        for value, meaning, colour, names in rows:
            anatomy = Anatomy(category, _sct(value, meaning), colour)
            found |= dict.fromkeys((meaning.lower(), *names), anatomy)
    del found["ventricle"]  # of the heart in SNOMED CT, of the brain in many a label list
    return found


_NAMES = _by_name()
_ABNORMAL_WORDS = {
    name for name, anatomy in _NAMES.items() if anatomy.category == ABNORMAL and " " not in name
}


def anatomy_of(name: str) -> Anatomy:
    """What a segment of this name shows.

    Case, plural, "left" and "right" and numbers at the end do not matter, nor does "_" for a
    space: "Kidney_left", "left kidneys" and "kidney" are one kind, with and without a side. Of
    "liver lesion 2" the last word counts.

    Returns:
        The entry of the table; for other names Tissue, in a colour that depends on the name alone.
    """
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    sides = [word for word in words if word in SIDES]
    rest = [word for word in words if word not in SIDES]
    while rest and rest[-1].isdigit():
        rest.pop()
    found = _find(" ".join(rest))
    if found is None and rest:
        last = _singular(rest[-1])
        found = _NAMES[last] if last in _ABNORMAL_WORDS else None
    if found is None:
        return Anatomy(TISSUE, TISSUE, _colour_of(name))
    side = SIDES[sides[0]] if len(set(sides)) == 1 else None
    return Anatomy(found.category, found.kind, found.colour, side)


def _find(name: str) -> Anatomy | None:
    return _NAMES.get(name) or _NAMES.get(_singular(name))


def _singular(name: str) -> str:
    return name[:-1] if name.endswith("s") else name


def _colour_of(name: str) -> Colour:
    """A bright colour: the name chooses hue and, a little, saturation."""
    digest = hashlib.sha256(name.strip().lower().encode()).digest()
    hue, saturation = digest[0] / 256, 0.55 + digest[1] / 256 * 0.35
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
