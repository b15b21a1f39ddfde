import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * ZooKeeper's own client: its watches survive the death of its node, since it sends setWatches.
 *
 * usage: SetWatches HOST:PORT,... HOST:PORT (all nodes; one that is not killed)
 * Prints the port it is connected to, waits for a line (the node is dead, changes are to come),
 * makes changes through the other node, and checks what the watches see.
 */
public class SetWatches {
    static final long PATIENCE_MS = 60_000;

    public static void main(String[] args) throws Exception {
        BlockingQueue<WatchedEvent> states = new LinkedBlockingQueue<>();
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        ZooKeeper zk = new ZooKeeper(args[0], 20_000, event -> {
            if (event.getType() == EventType.None) {
                states.add(event);
            }
        });
        expectState(states, KeeperState.SyncConnected);
        for (String path : new String[] {"/sw", "/sw/data", "/sw/gone", "/sw/parent", "/sw/same"}) {
            zk.create(path, new byte[] {1}, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        zk.getData("/sw/data", events::add, null);
        zk.getData("/sw/same", events::add, null);
        zk.getData("/sw/gone", events::add, null);
        zk.exists("/sw/later", events::add);
        zk.getChildren("/sw/parent", events::add);
        zk.addWatch("/sw/recursive", events::add, AddWatchMode.PERSISTENT_RECURSIVE);
        long session = zk.getSessionId();
        String remote = zk.toString().replaceAll("(?s).*remoteserver:[^:]*:(\\d+) .*", "$1");
        System.out.println(remote);

        int read = System.in.read();
        if (read < 0) {
            throw new AssertionError("no line came");
        }
        BlockingQueue<WatchedEvent> otherStates = new LinkedBlockingQueue<>();
        ZooKeeper other = new ZooKeeper(args[1], 20_000, otherStates::add);
        expectState(otherStates, KeeperState.SyncConnected);
        other.setData("/sw/data", new byte[] {2}, -1);
        other.delete("/sw/gone", -1);
        other.create("/sw/later", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        other.create("/sw/parent/child", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);

        java.util.Set<String> seen = new java.util.TreeSet<>();
        while (seen.size() < 4) {
            WatchedEvent event = events.poll(PATIENCE_MS, TimeUnit.MILLISECONDS);
            if (event == null) {
                throw new AssertionError("only " + seen);
            }
            if (event.getType() != EventType.None && !seen.add(event.getType() + " " + event.getPath())) {
                throw new AssertionError("twice: " + event);
            }
        }
        String expected = "[NodeChildrenChanged /sw/parent, NodeCreated /sw/later,"
                + " NodeDataChanged /sw/data, NodeDeleted /sw/gone]";
        if (!seen.toString().equals(expected)) {
            throw new AssertionError(seen);
        }
        other.setData("/sw/same", new byte[] {2}, -1);
        expectEvent(events, EventType.NodeDataChanged, "/sw/same");
        other.create("/sw/recursive", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        expectEvent(events, EventType.NodeCreated, "/sw/recursive");
        if (zk.getSessionId() != session) {
            throw new AssertionError("the session was lost");
        }
        zk.close();
        other.close();
        System.out.println("ok");
    }

    static void expectState(BlockingQueue<WatchedEvent> states, KeeperState wanted) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            WatchedEvent event = states.poll(deadline - System.currentTimeMillis(), TimeUnit.MILLISECONDS);
            if (event == null) {
                throw new AssertionError("never " + wanted);
            }
            if (event.getState() == wanted) {
                return;
            }
        }
    }

    static void expectEvent(BlockingQueue<WatchedEvent> events, EventType type, String path) throws Exception {
        while (true) {
            WatchedEvent event = events.poll(PATIENCE_MS, TimeUnit.MILLISECONDS);
            if (event == null) {
                throw new AssertionError("never " + type + " " + path);
            }
            if (event.getType() == type && path.equals(event.getPath())) {
                return;
            }
            if (event.getType() != EventType.None) {
                throw new AssertionError("unexpected: " + event);
            }
        }
    }
}
