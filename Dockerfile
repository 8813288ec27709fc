FROM python:3.13-slim
WORKDIR /srv
COPY requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY backend backend
COPY migration migration
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . && mkdir /data
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["uvicorn", "app.main:app", "--app-dir", "backend", "--host", "0.0.0.0", "--port", "8000"]
