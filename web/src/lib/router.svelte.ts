import { readRoute, writeRoute, type Route } from './route';

class Router {
  route = $state.raw<Route>(readRoute(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.route = readRoute(location.hash)));
  }

  go(route: Route): void {
    location.hash = writeRoute(route);
  }

  /** Another name for the same place: the back button passes over it. */
  replace(route: Route): void {
    history.replaceState(null, '', writeRoute(route));
    this.route = route;
  }
}

export const router = new Router();
