"""The part of the body that a class belongs to, by the words of its name.

As in figure 3 of SA-Med2D-20M (Ye et al. 2023), whose own list is not published: this one is ours.
A lesion counts as such wherever it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

OTHER = "other"

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "lesions": "tumor* tumour* lesion* cancer* carcinom* melanom* metasta* polyp* "
        "nodule* cyst cysts edema oedema haemorrhag* hemorrhag* hematom* "
        "haematom* infarct* infection* opacit* exudat* aneurysm* gtv mass necro* "
        "effusion* pneumo* covid* stone* stroke ischem* plaque*",
        "cells": "nucle* cell cells axon* myelin* neuron* mitochondri*",
        "head and neck": "brain* cereb* hippocamp* parahippocamp* thalam* putamen* caudate* "
        "insula* cingul* amygdal* pallid* gyrus white grey gray csf skull mandib* "
        "maxill* tooth teeth eye eyes optic lens cochlea* parotid* submandib* "
        "thyroid* larynx pharyn* tongue pituitar* retina* cup fovea* macula* "
        "chiasm* face stem",
        "thorax": "lung* heart* ventric* myocard* atri* lv rv la ra aort* pulmon* trache* "
        "bronch* esophag* oesophag* airway* breast* pleura* mediastin* endocard* "
        "epicard* lobe lobes",
        "abdomen": "liver* hepat* spleen* splen* kidney* renal pancrea* stomach gallbladder* "
        "bile duoden* colon bowel* intestin* adrenal* portal cava* caval "
        "postcava*",
        "pelvis": "bladder prostat* uter* rectum rectal ovar* seminal cervix vagina* pelvi* "
        "urethra* foetal fetal",
        "bones and muscles": "bone bones verteb* intervertebral* spine spinal sacr* rib ribs "
        "stern* clavic* scapul* humer* femur* femor* tibia* fibul* hip hips knee* "
        "patell* cartilag* costal muscle* autochthon* glute* iliopsoas psoas "
        "menisc* cord ilium iliac",
        "skin": "skin mole* hair naev* nev* derm*",
    }
)
"""Part of the body -> words of names; one with a star stands for all that begin so.

The first part that has one of the words counts, so "liver tumour" is a lesion.
"""


def body_region(name: str) -> str:
    """The part of the body of a class, or `OTHER`.

    Args:
        name: of the class, such as "left_kidney", "GTV_mass" or "LeftAtrium".
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z]+", apart.lower())
    for region, known in _PATTERNS.items():
        if any(known.fullmatch(word) for word in words):
            return region
    return OTHER


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile("|".join(word.replace("*", "[a-z]*") for word in words.split()))


_PATTERNS = {region: _pattern(words) for region, words in WORDS.items()}
