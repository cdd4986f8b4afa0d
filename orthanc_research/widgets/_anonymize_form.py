"""The form of a release: the project and its key, the profile, where the copies go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import ipywidgets

from orthanc_research.deid import Key, Profile
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.markup import escape
from orthanc_research.orthanc import Orthanc
from orthanc_research.widgets._anonymize_fields import (
    FORMS,
    KEY_NAME,
    address_of,
    day,
    folder_name,
    key_name,
    variable_name,
)
from orthanc_research.widgets._form import Code, Field
from orthanc_research.widgets._guard import guard, text

__all__ = ["Release", "ReleaseForm"]

FOLDER, HERE, OTHER = "a folder", "this Orthanc", "another Orthanc"
_DATES = {
    "move all dates of a patient by the same days": "shift",
    "remove dates and times": "remove",
    "move them so that the first study falls on": "anchor",
    "keep dates": "keep",
}
_OPTIONS = {
    "retain_patient_characteristics": "keep age, sex, size and weight",
    "clean_descriptors": "keep what is known of descriptions",
    "clean_structured_content": "keep measurements in reports",
    "clean_graphics": "keep graphics",
    "retain_safe_private": "keep private elements known to be safe",
    "retain_device_identity": "keep which device it was",
    "retain_institution_identity": "keep which institution it was",
    "retain_uids": "keep UIDs",
}


class Release(NamedTuple):
    """What the form says. `target` opens the place, `place` names it in a sentence."""

    folder: str
    key: str | Key
    profile: Profile
    target: Callable[[], Any]
    place: str

    def __repr__(self) -> str:
        return "<Release>"


class ReleaseForm:
    """Fields of a release; `read` gives all of them, or says beside each what is wrong with it.

    A key is named (env:NAME, file:/path, keyring:name), or typed into a password field, which is emptied at once: what
    is kept of it is a `deid.Key`, which shows itself to nobody.
    """

    def __init__(
        self,
        orthanc: Orthanc,
        targets: Mapping[str, Orthanc],
        profile: Profile | None,
        changed: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._orthanc, self._targets, self._changed, self._fail = orthanc, dict(targets), changed, fail
        self._base, self._given = profile or Profile(), profile is not None
        self._typed: Key | None = None
        self._opened: Orthanc | None = None
        self.folder = Field("Project folder", placeholder="~/deid/lung", read=folder_name, width="28em")
        self.key = Field("Key", placeholder="env:NAME, file:/path or keyring:name", read=key_name, width="28em")
        self.key.box.value = "env:ORES_KEY"
        self.secret = ipywidgets.Password(
            description="or the key itself", layout={"width": "28em"}, style={"description_width": "initial"}
        )
        self.secret.continuous_update = False
        self.secret.add_class("ores-secret")
        self._told = text("", classes="ores-note")
        self.dates = ipywidgets.Dropdown(
            options=_DATES,
            value=self._base.dates,
            description="Dates",
            layout={"width": "32em"},
            style={"description_width": "initial"},
        )
        self.anchor = Field("Anchor date", placeholder="20000101", read=day, width="16em")
        self.anchor.box.value = self._base.anchor or ""
        self.options = {
            name: ipywidgets.Checkbox(
                value=name in self._base.options, description=label, indent=False, layout={"width": "22em"}
            )
            for name, label in _OPTIONS.items()
        }
        self.target = ipywidgets.Dropdown(
            options=[FOLDER, HERE, *self._targets, OTHER],
            description="Copies go to",
            style={"description_width": "initial"},
        )
        self.path = Field("Folder", placeholder="release/", read=folder_name, width="28em")
        self.address = Field("Address", placeholder="http://research:8042", read=address_of, width="28em")
        self.variable = Field(
            "Variable with user:password", placeholder="RESEARCH_AUTH", read=variable_name, width="28em"
        )
        self._about = text("", classes="ores-note", tag="div")
        self.widget = self._composed()
        self._watch()

    def _composed(self) -> ipywidgets.VBox:
        options = ipywidgets.HBox(list(self.options.values()))
        options.add_class("ores-options")
        parts = [
            self.folder.widget,
            ipywidgets.HBox([self.key.widget, self.secret, self._told]),
            ipywidgets.HBox([self.dates, self.anchor.widget]),
            options,
            self._about,
            ipywidgets.HBox(
                [self.target, self.path.widget, self.address.widget, self.variable.widget],
            ),
        ]
        form = ipywidgets.VBox(parts)
        form.add_class("ores-release")
        return form

    def _watch(self) -> None:
        self.secret.observe(self._on_secret, "value")
        self.key.box.observe(self._on_key, "value")
        # A password that was typed into these is not left there either.
        for field, read, mark in ((self.address, address_of, "@"), (self.variable, variable_name, ":")):
            field.box.observe(partial(self._on_password, field, read, mark), "value")
        fields = (self.folder, self.anchor, self.path, self.address, self.variable)
        for each in (*(field.box for field in fields), self.dates, self.target, *self.options.values()):
            each.observe(self._on_change, "value")
        self._arrange()

    def fail(self, failure: BaseException) -> None:
        """Hand on what went wrong in a handler."""
        self._fail(failure)

    @guard
    def _on_secret(self, change: dict[str, Any]) -> None:
        """Take the key, and leave nothing of it in the field: the value of a widget is kept with the notebook."""
        entered = change["new"]
        if not entered:
            return
        self.secret.value = ""
        self.key.complain("")
        try:
            self._typed = Key.parse(entered)
        except DeidError as error:
            self._typed = None
            self.key.complain(str(error))
        said = f"a key is given: {self._typed.id}" if self._typed else ""
        self._told.value = f"<span>{escape(said)}</span>"
        self._on_change(change)

    @guard
    def _on_key(self, change: dict[str, Any]) -> None:
        """A key that was typed into the wrong field is not left there."""
        entered = change["new"].strip()
        if not entered:
            return
        if not KEY_NAME.fullmatch(entered):
            self.key.box.value = ""
            self.key.complain(f"{FORMS} What was here is gone.")
            return
        self._typed, self._told.value = None, "<span></span>"
        self.key.complain("")
        self._on_change(change)

    @guard
    def _on_password(self, field: Field, read: Callable[[str], str], mark: str, change: dict[str, Any]) -> None:
        if mark not in change["new"]:
            return
        try:
            read(change["new"])
        except QueryError as error:
            field.box.value = ""
            field.complain(f"{error} What was here is gone.")

    @guard
    def _on_change(self, _: Any) -> None:
        self._arrange()
        self._changed()

    def _arrange(self) -> None:
        """Show the fields that the choices need, and what the profile does in words."""
        self.anchor.widget.layout.display = "" if self.dates.value == "anchor" else "none"
        self.path.widget.layout.display = "" if self.target.value == FOLDER else "none"
        for field in (self.address, self.variable):
            field.widget.layout.display = "" if self.target.value == OTHER else "none"
        try:
            said = self._profile().describe()
        except (DeidError, QueryError):
            said = ""
        self._about.value = f'<div class="ores-note">{escape(said)}</div>'

    def _profile(self) -> Profile:
        dates: Any = self.dates.value
        said = "Give the date that the first study of each patient is to fall on."
        anchor = self.anchor.needed(said) if dates == "anchor" else None
        chosen = frozenset(name for name, box in self.options.items() if box.value)
        return dataclasses.replace(self._base, dates=dates, anchor=anchor, options=chosen)

    def read(self) -> Release:
        """Everything; `QueryError` when something is wrong, which then stands beside its field."""
        wrong: list[QueryError | DeidError] = []

        def asked(read: Callable[[], Any]) -> Any:
            try:
                return read()
            except (QueryError, DeidError) as error:
                wrong.append(error)
                return None

        folder = asked(lambda: self.folder.needed("Name the folder of the project; it is made where there is none."))
        key = self._typed or asked(lambda: self.key.needed(FORMS))
        profile = asked(self._profile)
        target, place = asked(self._place) or (None, "")
        if wrong:
            raise QueryError("Nothing was sent: see what is said beside the fields.") from wrong[0]
        return Release(folder, key, cast("Profile", profile), cast("Callable[[], Any]", target), place)

    def _place(self) -> tuple[Callable[[], Any], str]:
        chosen = str(self.target.value)
        if chosen == FOLDER:
            path = self.path.needed("Name the folder that the copies go into.")
            return (lambda: path), "that folder"
        if chosen == HERE:
            return (lambda: self._orthanc), HERE
        if chosen in self._targets:
            return (lambda: self._targets[chosen]), chosen
        wrong, name = None, None
        try:
            name = self.variable.value()
        except QueryError as error:
            wrong = error
        address = self.address.needed("Give the address of the Orthanc.")
        if wrong is not None:
            raise wrong

        def opened() -> Orthanc:
            if self._opened is None or self._opened.url != address.rstrip("/"):
                self.close()
                self._opened = Orthanc(address, auth=f"env:{name}" if name else None)
            return self._opened

        return opened, OTHER

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Project` and of its `plan`, as far as the form is filled, as they are typed."""
        named = self.key.box.value.strip()
        profile = Code("profile") if self._given else Code(f"ores.deid.Profile({self._differences()})")
        target: Any = self.path.box.value.strip() or "release/"
        if self.target.value != FOLDER:
            target = Code("orthanc" if self.target.value == HERE else "target")
        key = Code("key") if self._typed or not KEY_NAME.fullmatch(named) else named
        return {"folder": self.folder.box.value.strip(), "key": key, "profile": profile, "target": target}

    def _differences(self) -> str:
        try:
            made, plain = self._profile(), Profile()
        except (DeidError, QueryError):
            return "…"
        found = {name: getattr(made, name) for name in ("dates", "anchor")}
        parts = [f"{name}={value!r}" for name, value in found.items() if value != getattr(plain, name)]
        if made.options != plain.options:
            parts.append(f"options={sorted(made.options)!r}")
        return ", ".join(parts)

    def close(self) -> None:
        """Close the Orthanc that the form itself opened."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
