"""How each mystery of chapter 10 is repaired: texts of its app, and what takes their place."""

from __future__ import annotations

Changes = tuple[tuple[str, str], ...]

NOTES_IN_THE_BUCKET: Changes = (
    (
        "import sqlite3\nfrom contextlib import closing\n",
        "import os\n\nimport boto3\n",
    ),
    (
        "def open_notes() -> sqlite3.Connection:\n"
        '    notes = sqlite3.connect("notes.db", timeout=30)\n'
        '    notes.execute("create table if not exists notes '
        '(company text primary key, note text)")\n'
        "    return notes\n",
        'BUCKET = os.environ["SHOP_BUCKET"]\nstorage = boto3.client("s3")\n',
    ),
    (
        "    with closing(open_notes()) as notes, notes:\n"
        '        notes.execute("insert or replace into notes values (?, ?)", (company, note))\n',
        "    storage.put_object(Bucket=BUCKET, Key=company, Body=note.encode())\n",
    ),
    (
        "    with closing(open_notes()) as notes:\n"
        '        found = notes.execute("select note from notes where company = ?", (company,))'
        ".fetchone()\n",
        '    found = [storage.get_object(Bucket=BUCKET, Key=company)["Body"].read().decode()]\n',
    ),
)

REPAIRS: dict[int, Changes] = {
    1: (
        ("STAFF = {", "def hire() -> dict[str, Agent]:\n    return {"),
        ("    ),\n}\n", "    ),\n    }\n"),
        ("def task_for(who: str, ", "def task_for(agent: Agent, "),
        ("agent=STAFF[who]", "agent=agent"),
        ("    facts = task_for(", "    staff = hire()\n    facts = task_for("),
        ('task_for("scout"', 'task_for(staff["scout"]'),
        ('task_for("editor"', 'task_for(staff["editor"]'),
        ("list(STAFF.values())", "list(staff.values())"),
    ),
    2: (('print("model says:", new_llm().call("Are you there?")[:20])\n', "build_crew()\n"),),
    3: (
        ("from crewai.project import CrewBase, agent, crew, task\n", ""),
        ("@CrewBase\n", ""),
        ("    @agent\n", ""),
        ("    @task\n", ""),
        ("    @crew\n", ""),
        (
            "        return Crew(agents=self.agents, tasks=self.tasks)",
            "        opinion = self.opinion()\n"
            "        return Crew(agents=[opinion.agent], tasks=[opinion])",
        ),
    ),
    4: (("urlopen(request)", "urlopen(request, timeout=1)"),),
    5: NOTES_IN_THE_BUCKET,
    6: (
        (
            'KEY = os.getenv("OPENAI_API_KEY")\n',
            'KEY = os.getenv("OPENAI_API_KEY")\n'
            'if not KEY:\n    raise SystemExit("OPENAI_API_KEY is missing or empty")\n',
        ),
    ),
    8: (
        ("from threading import Thread\n", "from threading import BoundedSemaphore, Thread\n"),
        ("max_retries=0)\n", "max_retries=2)\nplaces = BoundedSemaphore(2)  # 8 for 4 replicas\n"),
        (
            "    answers[office] = chat",
            "    with places:\n        answers[office] = chat",
        ),
    ),
    9: (),
    10: (
        ('"tools": [Prices()]}', "}"),
        ('tools=job["tools"]', "tools=[Prices()]"),
    ),
    11: (
        ("import uuid\n", ""),
        ("/{uuid.uuid4()}", ""),
        ("import boto3\n", "import boto3\nfrom botocore.exceptions import ClientError\n"),
        (
            "    storage.put_object(Bucket=BUCKET, Key=payment, Body=company.encode(),"
            ' IfNoneMatch="*")\n',
            "    try:\n"
            "        storage.put_object(\n"
            '            Bucket=BUCKET, Key=payment, Body=company.encode(), IfNoneMatch="*"\n'
            "        )\n"
            "    except ClientError as problem:\n"
            '        if problem.response["Error"]["Code"] != "PreconditionFailed":\n'
            "            raise\n",
        ),
    ),
}
