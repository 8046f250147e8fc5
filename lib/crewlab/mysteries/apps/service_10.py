"""Puts work into a queue, and does what it takes out of it."""

import os
import pickle
import uuid

import boto3
from crewai import LLM, Agent, Crew, Task
from crewai.tools import BaseTool

BUCKET = os.environ["SHOP_BUCKET"]
storage = boto3.client("s3")


class Prices(BaseTool):
    name: str = "prices"
    description: str = "Knows what a customer pays."

    def _run(self, company: str) -> str:
        return f"{company} pays the list price."


def put(job: dict) -> str:
    key = f"queue/{uuid.uuid4()}"
    storage.put_object(Bucket=BUCKET, Key=key, Body=pickle.dumps(job))
    return key


def take(key: str) -> dict:
    return pickle.loads(storage.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def work(job: dict) -> str:
    seller = Agent(
        role="Seller",
        goal="Make an offer to {company}",
        backstory="You never give a discount.",
        llm=LLM(model="gpt-4o-mini"),
        tools=job["tools"],
    )
    offer = Task(
        description="Write an offer to {company}.",
        expected_output="Two sentences to {company}.",
        agent=seller,
    )
    crew = Crew(agents=[seller], tasks=[offer])
    return crew.kickoff(inputs={"company": job["company"]}).raw


def run(inputs: dict) -> str:
    key = put({"company": inputs["company"], "tools": [Prices()]})
    return work(take(key))
