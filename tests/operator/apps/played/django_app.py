"""A Django project in one file: `install URL`, `write URL N`, `read URL`; users, sessions, a model of many kinds."""

import json
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings
from django.core.management import call_command

what, url = sys.argv[1:3]
parts = urlsplit(url)
on_postgres = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": parts.path[1:],
    "USER": unquote(parts.username or ""),
    "PASSWORD": unquote(parts.password or ""),
    "HOST": parts.hostname,
    "PORT": parts.port,
}
on_sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path}
settings.configure(
    SECRET_KEY="played",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": on_postgres if parts.scheme == "postgresql" else on_sqlite},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import connection, models  # noqa: E402


class Thing(models.Model):
    name = models.CharField(max_length=50, unique=True)
    owner = models.ForeignKey(User, on_delete=models.CASCADE)
    token = models.UUIDField()
    facts = models.JSONField()
    price = models.DecimalField(max_digits=12, decimal_places=4)
    weight = models.FloatField(null=True)
    took = models.DurationField()
    made = models.DateTimeField()
    day = models.DateField()
    at = models.TimeField()
    raw = models.BinaryField()
    good = models.BooleanField()

    class Meta:
        app_label = "played"


def write(number: int) -> None:
    before = Thing.objects.count()
    for n in range(before, before + number):
        user = User.objects.create_user(f"user{n}", f"{n}@example.org", "secret")
        user.groups.add(Group.objects.get_or_create(name="all")[0])
        Thing.objects.create(
            name=f"thing {n} é",
            owner=user,
            token=uuid.UUID(int=n),
            facts={"n": n, "list": [1, 2.5, None, "x"]},
            price=Decimal(n) / 8,
            weight=None if n % 2 else n / 3,
            took=timedelta(days=n, microseconds=n),
            made=datetime(2026, 1, 2, 3, 4, 5, n, tzinfo=UTC),
            day=date(2026, 1, 1 + n % 28),
            at=time(n % 24, 30, 0, n),
            raw=bytes([0, n % 256, 255]),
            good=bool(n % 3),
        )
        session = SessionStore()
        session["user"] = n
        session.save()


if what == "install":
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Thing)
elif what == "write":
    write(int(sys.argv[3]))
if what != "install":
    fields = [field.attname for field in Thing._meta.concrete_fields]
    rows = [
        [repr(bytes(v) if n == "raw" else v) for n, v in zip(fields, row, strict=True)]
        for row in Thing.objects.order_by("name").values_list(*fields)
    ]
    users = list(User.objects.order_by("username").values_list("username", "groups__name", "is_active"))
    print(json.dumps([rows, users, User.objects.filter(date_joined__isnull=False).count()]))
