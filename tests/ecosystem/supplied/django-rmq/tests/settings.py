"""The Django settings of django-rmq's tests, which its sdist leaves out."""

SECRET_KEY = "tests"
INSTALLED_APPS = ["django_rmq"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
RABBITMQ_CONNECTIONS = {
    "default": {
        "HOST": "127.0.0.1",
        "PORT": 5672,
        "VIRTUAL_HOST": "/",
        "USER": "guest",
        "PASSWORD": "guest",
        "HEARTBEAT": 60,
        "BLOCKED_CONNECTION_TIMEOUT": 30,
        "RECONNECT_INITIAL_BACKOFF": 1.0,
        "RECONNECT_MAX_BACKOFF": 30.0,
    }
}
