"""Books seats and confirms them by letter."""

import os
import uuid

import boto3
from crewai import LLM, Agent, Crew, Task

BUCKET = os.environ["SHOP_BUCKET"]
storage = boto3.client("s3")


def pay(order: str, company: str) -> None:
    payment = f"charges/{order}/{uuid.uuid4()}"  # each payment wants a number of its own
    storage.put_object(Bucket=BUCKET, Key=payment, Body=company.encode(), IfNoneMatch="*")


def write_letter(company: str) -> str:
    clerk = Agent(
        role="Box office",
        goal="Confirm the seats of {company}",
        backstory="You know every seat.",
        llm=LLM(model="gpt-4o-mini"),
    )
    letter = Task(
        description="Write the confirmation for {company}.",
        expected_output="Two sentences to {company}.",
        agent=clerk,
    )
    return Crew(agents=[clerk], tasks=[letter]).kickoff(inputs={"company": company}).raw


def run(inputs: dict) -> str:
    pay(inputs["order"], inputs["company"])
    return write_letter(inputs["company"])
