"""A TCP proxy that delays every connection's bytes by a random time of its own, so that what is sent on different connections arrives in another order, and that cuts a
connection now and then. Called by latency.sh: proxy.py FILE SEED, prints the port it listens on. The file holds the endpoint to connect to, or nothing yet: then whoever
connects is turned away."""
import asyncio
import random
import sys

chance = random.Random(int(sys.argv[2]))


async def pump(reader, writer, delay):
    queue = asyncio.Queue()

    async def give():
        while (item := await queue.get()) is not None:
            due, data = item
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            writer.write(data)
            await writer.drain()
        writer.close()

    giver = asyncio.create_task(give())
    while data := await reader.read(65536):
        late = delay + chance.uniform(0.0, 0.02)
        await queue.put((asyncio.get_running_loop().time() + late, data))
        if chance.random() < 0.001:
            writer.transport.abort()
            break
    await queue.put(None)
    await giver


async def serve(reader, writer):
    delay = chance.uniform(0.0, 0.03)
    try:
        with open(sys.argv[1]) as file:
            endpoint = file.read().strip().removeprefix("tcp://")
        if not endpoint:
            raise OSError("nobody is there yet")
        there_reader, there_writer = await asyncio.open_connection(*endpoint.rsplit(":", 1))
        await asyncio.gather(pump(reader, there_writer, delay), pump(there_reader, writer, delay))
    except OSError:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
