"""A TCP relay that counts. Called by wire.sh: relay.py FILE, prints the port it listens on; FILE holds the endpoint to connect to. At SIGTERM it prints how many bytes those who connected have sent."""
import asyncio
import signal
import sys

sent = 0


async def pump(reader, writer, counts):
    global sent
    while data := await reader.read(65536):
        sent += len(data) if counts else 0
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(reader, writer):
    with open(sys.argv[1], encoding="utf-8") as file:
        endpoint = file.read().strip().removeprefix("tcp://")
    try:
        there_reader, there_writer = await asyncio.open_connection(*endpoint.rsplit(":", 1))
        await asyncio.gather(pump(reader, there_writer, True), pump(there_reader, writer, False))
    except OSError:
        writer.close()


async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over.wait()
    print(sent, flush=True)


asyncio.run(main())
