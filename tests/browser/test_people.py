"""The viewers on a server with keys: signing in, and several people at one image."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import requests
from playwright.sync_api import Page, expect

from lib.server.api_keys import add_user, remove_user
from lib.server.roles import Role
from tests.browser.annotate import MILLISECONDS, AnnotateViewer, Labels, Series
from tests.support.browser import open_page
from tests.support.organs import CT_SERIES, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import RunningServer, start_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("viewer_build"),
]


@dataclass(frozen=True)
class Locked:
    """A server with keys, and the file of them."""

    server: RunningServer
    file: Path


@pytest.fixture(scope="module")
def locked(pacs: RunningOrthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    add_user(file, "somebody", Role.ADMIN)
    env = {"SAMED2D_ENCODE_AHEAD": "off"}
    conf = {"api_keys": str(file)}
    with start_server(pacs.dicom_web, conf=conf, env=env, ready=401) as server:
        yield Locked(server, file)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with open_page(tmp_path / "browser") as opened:
        yield opened


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Your key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_the_viewer_asks_for_a_key_and_works_with_it(
    locked: Locked, pacs: RunningOrthanc, page: Page
) -> None:
    key = add_user(locked.file, "Anna Berg", Role.ANNOTATOR)
    viewer = AnnotateViewer(page, locked.server.url, Series.of(CT_SERIES))
    refused: list[str] = []
    page.on("response", lambda r: refused.append(r.url) if r.status in (401, 403) else None)
    address = f"{locked.server.url}/samed2d/annotate?StudyInstanceUIDs={pacs.study_uids()[0]}"
    page.goto(address, timeout=MILLISECONDS)
    sign_in(page, "samed2d_wrong")
    expect(page.get_by_role("status")).to_contain_text(
        "does not know this key", timeout=MILLISECONDS
    )
    refused.clear()

    sign_in(page, key)
    viewer.wait_until_ready()
    assert page.url.startswith(address)
    expect(page.locator(".samed2d-caller")).to_have_text(
        "Anna Berg, annotator", timeout=MILLISECONDS
    )
    click = organ_click(organ_mask("liver"))
    viewer.show(click[2])
    assert viewer.click(click).mask.any()
    viewer.press("save")
    viewer.expect_message("The label is in the PACS", "good")
    asked = [url for url in viewer.requested if "/proxy/dicom/" in url]
    assert asked
    assert not refused
    # No script can read it.
    stored = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
    assert key not in page.evaluate(stored)

    # What the role does not go to is said in a sentence.
    page.locator(".samed2d-panel [data-action=train]").click()
    viewer.expect_message(re.compile("Anna Berg, who is annotator.*the role trainer"), "error")

    viewer.button("sign-out").click()
    expect(page.get_by_label("Your key")).to_be_visible(timeout=MILLISECONDS)
    page.goto(address, timeout=MILLISECONDS)
    expect(page.get_by_label("Your key")).to_be_visible(timeout=MILLISECONDS)
    assert not viewer.errors


def test_a_click_without_a_key_waits_until_somebody_signs_in(
    locked: Locked, pacs: RunningOrthanc, page: Page
) -> None:
    key = add_user(locked.file, "for a day", Role.ANNOTATOR)
    viewer = AnnotateViewer(page, locked.server.url, Series.of(CT_SERIES))
    study = pacs.study_uids()[0]
    page.goto(f"{locked.server.url}/samed2d/annotate?StudyInstanceUIDs={study}")
    sign_in(page, key)
    viewer.wait_until_ready()
    click = organ_click(organ_mask("spleen"))
    viewer.choose_label("spleen")
    viewer.show(click[2])
    before = viewer.painted()
    remove_user(locked.file, "for a day")
    page.mouse.click(*viewer.to_screen(click))
    viewer.expect_message("You are signed out. Nothing is lost", "lost")

    new = add_user(locked.file, "for another day", Role.ANNOTATOR)
    with page.context.expect_page() as caught:
        page.get_by_role("link", name="Sign in").click()
    sign_in(caught.value, new)
    expect(caught.value.get_by_role("status")).to_contain_text(
        "signed in as for another day", timeout=MILLISECONDS
    )
    viewer.wait_until_idle()
    expect(page.locator(".samed2d-caller")).to_have_text(
        "for another day, annotator", timeout=MILLISECONDS
    )
    assert not np.array_equal(viewer.painted(), before)


def test_ohif_of_monai_label_asks_too(locked: Locked, page: Page) -> None:
    key = add_user(locked.file, "Ben Okoye", Role.ANNOTATOR)
    page.goto(f"{locked.server.url}/ohif/", timeout=MILLISECONDS)
    sign_in(page, key)
    page.wait_for_url(f"{locked.server.url}/ohif/**", timeout=MILLISECONDS)
    expect(page.get_by_text("Study List")).to_be_visible(timeout=MILLISECONDS)
    # A row of the PACS, asked through the server.
    expect(page.locator("[data-cy='study-list-results'] tr").first).to_be_visible(
        timeout=MILLISECONDS
    )


def test_two_people_draw_one_image_and_nobody_overwrites_unseen(
    locked: Locked, pacs: RunningOrthanc, page: Page
) -> None:
    viewer = AnnotateViewer(page, locked.server.url, Series.of(CT_SERIES))
    page.goto(
        f"{locked.server.url}/samed2d/annotate?StudyInstanceUIDs={pacs.study_uids()[0]}",
        timeout=MILLISECONDS,
    )
    sign_in(page, add_user(locked.file, "Cleo Dahl", Role.ANNOTATOR))
    viewer.wait_until_ready()
    viewer.wait_until_idle()
    click = organ_click(organ_mask("liver"))
    viewer.show(click[2])
    viewer.click(click)
    mine = viewer.painted()

    theirs = np.zeros_like(mine)
    theirs[3:9, 4:12, 1] = 1
    save_as(locked, add_user(locked.file, "Dan Eriksen", Role.ANNOTATOR), theirs)
    viewer.press("save")
    viewer.expect_message(re.compile("without the one of Dan Eriksen at .*NOT saved"), "error")
    np.testing.assert_array_equal(saved(locked), theirs)

    viewer.press("show-other")
    viewer.expect_message("This is the other label", "good")
    np.testing.assert_array_equal(viewer.painted() > 0, theirs > 0)
    expect(viewer.button("replace-other")).to_be_hidden(timeout=MILLISECONDS)
    viewer.press("undo")
    np.testing.assert_array_equal(viewer.painted(), mine)

    theirs[3:9, 4:12, 2] = 1
    save_as(locked, add_user(locked.file, "Eva Falk", Role.ANNOTATOR), theirs)
    viewer.press("save")
    viewer.expect_message("without the one of Eva Falk", "error")
    viewer.press("replace-other")
    viewer.expect_message("It takes the place of the label of Eva Falk", "good")
    np.testing.assert_array_equal(saved(locked), mine)


def save_as(locked: Locked, key: str, labels: Labels) -> None:
    """Save as 3D Slicer does, which does not say on what it drew."""
    answer = requests.put(
        f"{locked.server.url}/datastore/label",
        params={"image": series_uid(), "tag": "final"},
        data={"params": '{"label_info": [{"name": "liver", "idx": 1}]}'},
        files={"label": ("label.bin", labels.tobytes(order="F"))},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def saved(locked: Locked) -> Labels:
    """The final label as the server hands it out."""
    answer = requests.get(
        f"{locked.server.url}/datastore/label",
        params={"label": series_uid(), "tag": "final"},
        headers={"Authorization": f"Bearer {add_user(locked.file, 'a check', Role.ADMIN)}"},
        timeout=60,
    )
    remove_user(locked.file, "a check")
    content = gzip.decompress(answer.content)
    return np.asarray(nibabel.Nifti1Image.from_bytes(content).dataobj).astype(np.uint8)


def series_uid() -> str:
    first = min(CT_SERIES.iterdir())
    return str(pydicom.dcmread(first, stop_before_pixels=True).SeriesInstanceUID)
