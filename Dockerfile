FROM python:3.13-slim
WORKDIR /srv
COPY requirements.lock pyproject.toml setup.py ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY backend backend
COPY migration migration
COPY st_migrate st_migrate
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && useradd --system --uid 999 --user-group --no-create-home sigma && install -d -o sigma -g sigma /data
USER sigma
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
CMD ["python", "-m", "app.run", "all", "--host", "0.0.0.0", "--port", "8000"]
